# A UCSPI-TLS server as others write them: runs its arguments, and on Y or y over the control socket begins TLS with the
# client. It tells of TLS what UCSPI_TOLD says, and with UCSPI_OPEN it never closes the control socket. Who closes the
# control socket before that is ended, as sslserver -n does it.
import os, signal, socket, ssl, sys, threading

cert, key, *words = sys.argv[1:]
control, theirs = socket.socketpair()
from_tls, to_prog = os.pipe()
from_prog, to_tls = os.pipe()
client = os.dup(0)
os.set_blocking(client, "UCSPI_NONBLOCKING" not in os.environ)
prog = os.pidfd_open(os.getpid())
numbers = {"SSLCTLFD": theirs.fileno(), "SSLREADFD": from_tls, "SSLWRITEFD": to_tls}
for fd in numbers.values():
    os.set_inheritable(fd, True)
if os.fork():
    os.environ.update({name: str(fd) for name, fd in numbers.items()})
    os.execv(words[0], words)
for fd in (theirs.detach(), from_tls, to_tls, 0, 1):
    os.close(fd)

def end_prog(why):
    sys.stderr.write(why + "\n")
    try:
        signal.pidfd_send_signal(prog, signal.SIGTERM)
    except ProcessLookupError:
        pass
    sys.exit()

word = control.recv(1)
if word not in (b"y", b"Y"):
    end_prog("declined")
sys.stderr.write("the client's descriptor is blocking: %s\n" % os.get_blocking(client))
os.set_blocking(client, True)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
try:
    tls = context.wrap_socket(socket.socket(fileno=client), server_side=True)
except OSError as why:
    sys.exit(f"handshake: {why}")
if word == b"Y":
    told = os.environ.get("UCSPI_TOLD", "SSL_PROTOCOL=%s|SSL_CIPHER=%s|SSL_PEER_CERT_HASH" % (tls.version(), tls.cipher()[0]))
    control.sendall(told.replace("|", "\0").encode() + b"\0\0")
if "UCSPI_OPEN" not in os.environ:
    control.close()

def upward():
    while data := tls.recv(4096):
        os.write(to_prog, data)
    os.close(to_prog)

def watch():
    if not control.recv(1):
        end_prog("left the control socket")

threading.Thread(target=upward, daemon=True).start()
if "UCSPI_OPEN" in os.environ:
    threading.Thread(target=watch, daemon=True).start()
while data := os.read(from_prog, 4096):
    tls.sendall(data)
try:
    tls.unwrap()
except OSError:
    pass
