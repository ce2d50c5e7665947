"""Line formats of batch files, a folder each: what a request looks like, and what a result line says."""
