#!/bin/bash
# Expected: a TPM counts wrong guesses, and never locks out who always gives the right authorisation.
# Happens: at the first use after a start it notes a guess in advance, and only TPM2_Shutdown takes the note back. A machine whose power is cut,
# or that its watchdog resets, after the right authorisation has one guess more against it at the next start: after three such boots
# the right one is answered "lockout" (0x921) here.
# Relies on it: bay0-state/src/tpm.rs, which seals the vault's secret in an object that is not counted.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download swtpm=0.7.1-1.3 swtpm-libs=0.7.1-1.3 libtpms0=0.9.2-3.1+deb12u1 libjson-glib-1.0-0=1.6.6-1 2>/dev/null >&2
/sbin/ldconfig -p | grep -q libglib-2.0.so.0 || apt-get -q install -y libglib2.0-0 >/dev/null
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib/x86_64-linux-gnu/swtpm
swtpm --version | head -1
cat >try.py <<'END'
import os, socket, struct, subprocess, sys, time

OWNER, PASSWORD = 0x40000001, 0x40000009
SHUTDOWN, STARTUP, CREATE_PRIMARY, CREATE, LOAD, UNSEAL, GET_CAPABILITY = 0x145, 0x144, 0x131, 0x153, 0x157, 0x15E, 0x17A
FAILED = 0x20E
AGAIN, LOCKOUT = 0x922, 0x921
# A sealed object that its own authorisation opens, and the attribute "not counted".
SEALED, NOT_COUNTED = 0x52, 0x400

def be(form, *values):
    return struct.pack(">" + form, *values)

def sized(some):
    return be("H", len(some)) + some

class Tpm:
    """One boot: from the start of the TPM until its power is gone."""

    def __init__(self, folder):
        self.places = [f"{folder}/data", f"{folder}/control"]
        data, control = (f"type=unixio,path={place}" for place in self.places)
        state = f"dir={folder}"
        places = ["--tpmstate", state, "--server", data, "--ctrl", control]
        command = ["swtpm", "socket", "--tpm2", "--terminate", "--flags", "not-need-init", *places]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(self.places[0])
                break
            except OSError:
                time.sleep(0.05)
        self.ask(STARTUP, be("H", 0))

    def ask(self, code, parameters, handle=b"", authorisation=None):
        """The answer and its code; asked again when the TPM wants that."""
        tag, session = 0x8001, b""
        if authorisation is not None:
            tag = 0x8002
            session = be("IHB", PASSWORD, 0, 0) + sized(authorisation)
            session = be("I", len(session)) + session
        body = handle + session + parameters
        while True:
            self.socket.sendall(be("HII", tag, len(body) + 10, code) + body)
            answer = self.socket.recv(4096)
            told = struct.unpack(">I", answer[6:10])[0]
            if told != AGAIN:
                return answer[10:], told

    def failed(self):
        answer, _ = self.ask(GET_CAPABILITY, be("III", 6, FAILED, 1))
        return struct.unpack(">I", answer[-4:])[0]

    def unseal(self, attributes):
        """Seals something, and unseals it with the right authorisation; what the TPM says to that."""
        key = be("HHIH", 0x23, 0x0B, 0x30472, 0) + be("8H", 6, 128, 0x43, 0x10, 3, 0x10, 0, 0)
        nothing = be("HI", 0, 0)
        primary, _ = self.ask(CREATE_PRIMARY, sized(be("HH", 0, 0)) + sized(key) + nothing, be("I", OWNER), b"")
        parent = primary[:4]
        object = be("HHIHHH", 8, 0x0B, attributes, 0, 0x10, 0)
        made, _ = self.ask(CREATE, sized(sized(b"right") + sized(b"secret")) + sized(object) + nothing, parent, b"")
        private = 2 + struct.unpack(">H", made[4:6])[0]
        public = 2 + struct.unpack(">H", made[4 + private:6 + private])[0]
        item, _ = self.ask(LOAD, made[4:4 + private + public], parent, b"")
        answer, told = self.ask(UNSEAL, b"", item[:4], b"right")
        return "secret" if b"secret" in answer else f"{told:#x}"

    def cut(self):
        self.process.kill()
        self.process.wait()
        for place in self.places:
            os.unlink(place)

def boots(name, attributes, in_order):
    folder = os.path.join(os.getcwd(), name)
    os.mkdir(folder)
    seen = []
    for _ in range(4):
        tpm = Tpm(folder)
        seen.append((tpm.failed(), tpm.unseal(attributes)))
        if in_order:
            tpm.ask(SHUTDOWN, be("H", 0))
        tpm.cut()
    print(f"{name}: guesses at each start, and the answer to the right one: {seen}")
    return seen

counted = boots("counted", SEALED, False)
ended = boots("counted-and-shut-down", SEALED, True)
free = boots("not-counted", SEALED | NOT_COUNTED, False)
well = [(0, "secret")] * 4
sys.exit(0 if counted == [(0, "secret"), (1, "secret"), (2, "secret"), (3, f"{LOCKOUT:#x}")] and ended == free == well else 1)
END
python3 try.py
