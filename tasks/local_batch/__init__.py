"""A batch API on this machine: OpenAI's Files and Batches protocol, answered by echoes or by any real-time endpoint.

launch ▸ __main__ ▸ serve       starting it; place: one service per folder
app ▸ orders, replies           the HTTP face: what may be asked, how it is answered
engine ▸ rows, journal, store   running batches so that a crash loses nothing
echo, upstream                  who answers a row
faults, bend, fault_gate        misbehaving on request, for tests
"""
