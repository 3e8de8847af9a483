"""Settings of the gunicorn that is measured."""

from __future__ import annotations

keepalive = 60
loglevel = "warning"
# Known to gunicorn 25 and later; older ones pass over it. One run of the benchmark must not
# leave a socket behind, nor answer to what is meant for another gunicorn.
control_socket_disable = True
