"""An HTTP service on this machine that speaks OpenAI's Files and Batches API.

launch.py, __main__.py, server.py    find the running service, start it, serve a folder until it is told to stop
single_instance.py, settings.py      one service per folder and where it listens; how it is set up
api/                                 the HTTP routes: parameters checked, replies and errors in OpenAI's shapes
batches/                             runs a batch: validate the input, answer its rows, write the result files
echo/, upstream.py                   who answers a row: made-up replies, or an OpenAI-compatible real-time endpoint
state/                               what a restart finds again: files, batches, and the answers given so far
protocol/                            the objects and lines of the API as types
faults/                              misbehaviour on request, for tests
"""
