"""`mvc view`: pictures in a browser of this machine.

`worker.py` does one thing at a time and drops what nobody waits for, `library.py` has the files and what they say,
`pictures.py` decodes what is seen of them, `server.py` is what a browser talks to, and `page/` what it shows.
"""
