"""One SuperLink and two SuperNodes on this machine, over TLS and with node authentication, run a small FUCRT job.

    python experiments/deployment/run_local.py [--folder DIR] [key=value ...]

Everything (keys, certificates, Flower's own files, results) is put into the folder; all processes are stopped at the
end. A third SuperNode, whose key nobody registered, is shown to be refused. Exit status 0: all went well.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedunlearn.files import replacing

BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
SMALL = [
    *("data.limit=300", "model.width=4", "partition=iid", "partition.clients=2", "method=fucrt"),
    *("gates=warn", "train.rounds=1", "unlearn.rounds=1", "retrain.seeds=1", "audit=quick"),
]
PATIENCE = 60.0  # seconds for a process to come up, or to be refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where everything goes (default: a temporary folder)")
    parser.add_argument("overrides", nargs="*", help="settings of the run, on top of the small ones of this script")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that all that was started is stopped, too
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="fedunlearn-deployment-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    certificates(folder)
    for node in ("node-0", "node-1", "stranger"):
        node_key(folder / node)
    port = free_port()
    with ExitStack() as running:
        running.enter_context(superlink(folder, port))
        for number in (0, 1):
            command(folder, "flwr", "supernode", "register", str(folder / f"node-{number}.pub"), "loopback")
            running.enter_context(supernode(folder, f"node-{number}", port, number))
        stranger = running.enter_context(supernode(folder, "stranger", port, 2))
        status = run(folder, asked.overrides)
        refused = is_refused(stranger)
    print(f"run: {'done' if status == 0 else 'failed'}; unknown SuperNode: {'refused' if refused else 'NOT refused'}")
    print(f"everything is in {folder}")
    return 0 if status == 0 and refused else 1


def run(folder: Path, overrides: list[str]) -> int:
    """Submit the job and wait for it; the exit status of `fedunlearn`."""
    places = [f"output.dir={folder / 'run'}", f"store.dir={folder / 'store'}"]
    engine = ["engine=deployment", "engine.superlink=loopback"]
    words = [str(BIN / "fedunlearn"), *SMALL, *engine, *places, *overrides]
    return subprocess.run(words, env=environment(folder), cwd=folder, check=False).returncode


def is_refused(stranger: subprocess.Popen) -> bool:
    """Does the SuperLink turn away a SuperNode whose key was not registered?"""
    try:
        return stranger.wait(PATIENCE) != 0
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def superlink(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """A SuperLink that takes only nodes whose keys were registered."""
    tls = [f"--ssl-ca-certfile={folder}/ca.crt", f"--ssl-certfile={folder}/server.crt"]
    options = ["--enable-supernode-auth", "--disable-runtime-dependency-installation", f"--port={port}"]
    words = ["flower-superlink", *tls, f"--ssl-keyfile={folder}/server.key", *options]
    connection = f'address = "{HOST}:{port}"\nroot-certificates = "{folder}/ca.crt"\n'
    (folder / "flwr").mkdir(exist_ok=True)
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\n{connection}', encoding="utf-8"
    )
    with process(folder, "superlink", words) as started:
        wait_for(port, started)
        yield started


@contextmanager
def supernode(folder: Path, name: str, port: int, number: int) -> Iterator[subprocess.Popen]:
    """A SuperNode that is client `number`."""
    words = ["flower-supernode", f"--root-certificates={folder}/ca.crt", f"--superlink={HOST}:{port}"]
    words += [f"--auth-supernode-private-key={folder / name}", f"--port={free_port()}"]
    with process(folder, name, [*words, f"--node-config=partition-id={number}", "--max-retries=3"]) as started:
        yield started


@contextmanager
def process(folder: Path, name: str, words: list[str]) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, with its log in the folder; it and its children are stopped at the end."""
    with (folder / f"{name}.log").open("w") as log:
        words = [str(BIN / words[0]), *words[1:]]
        started = subprocess.Popen(
            words, env=environment(folder), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield started
        finally:
            stop(started)


def stop(started: subprocess.Popen) -> None:
    """Ask the whole process group to end, then insist."""
    for order, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(started.pid, order)
            started.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def environment(folder: Path) -> dict[str, str]:
    """Flower keeps its files in our folder and looks for nothing outside of this machine."""
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **quiet, "FLWR_HOME": str(folder / "flwr"), "PATH": path}


def command(folder: Path, name: str, *words: str) -> None:
    """Run a command to its end; stops the script if it fails."""
    done = subprocess.run([BIN / name, *words], env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} {' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def wait_for(port: int, started: subprocess.Popen) -> None:
    """Until somebody listens on the port."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and started.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.2)
    sys.exit("the SuperLink did not start: see superlink.log")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def node_key(path: Path) -> None:
    """A SuperNode's key pair, as `path` and `path`.pub."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_secret(path, private)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(public)


def certificates(folder: Path) -> None:
    """A certificate authority of our own, and the SuperLink's certificate for this machine's loopback address."""
    authority, own = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedunlearn test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
    root = (
        certificate(issuer, issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, hashes.SHA384())
    )
    leaf = certificate(issuer, subject, own).add_extension(names, critical=False).sign(authority, hashes.SHA384())
    (folder / "ca.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "server.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    write_secret(
        folder / "server.key",
        own.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()),
    )


def certificate(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Valid from yesterday for a month."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )


def write_secret(path: Path, content: bytes) -> None:
    """Nobody else can read it at any time, whatever lay at `path` before."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


if __name__ == "__main__":
    sys.exit(main())
