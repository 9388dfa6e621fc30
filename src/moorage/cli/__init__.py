"""The command `moor`: what people type. It starts and stops the server and otherwise talks to it over HTTP, like any
client; it must not import the server's packages (starting it is the one exception, see `server`). It stays light:
a command imports only what it needs."""
