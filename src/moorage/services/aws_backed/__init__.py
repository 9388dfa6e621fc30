"""The rest of AWS: every service that is not Moorage's own, answered by `moto` in a child process of its own.

`forward` is the front (control plane side), `worker` the back (the only module that imports moto).
"""
