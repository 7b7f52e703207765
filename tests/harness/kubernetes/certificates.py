"""Certificates of a temporary API server, made by openssl: a CA, the server's, an admin's, a token key."""

import base64
import json
import subprocess
from pathlib import Path

_USAGE = "keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=clientAuth,serverAuth\n"
_SERVER_NAMES = (
    "subjectAltName=DNS:kubernetes,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1\n"
)


def make_certificates(folder: Path) -> None:
    """Fill `folder` with ca, apiserver and admin (each .crt and .key), sa.key and sa.pub."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(folder, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "ca.key")
    _openssl(
        folder, "req", "-x509", "-new", "-key", "ca.key", "-days", "2", "-out", "ca.crt", "-subj", "/CN=ca"
    )
    _certificate(folder, "apiserver", "/CN=kube-apiserver", _SERVER_NAMES)
    _certificate(folder, "admin", "/O=system:masters/CN=admin", "")
    _openssl(folder, "genrsa", "-out", "sa.key", "2048")
    _openssl(folder, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def write_kubeconfig(path: Path, *, server: str, ca_file: Path | None, user: dict[str, str]) -> Path:
    """A kubeconfig (JSON is YAML) with one context, posecluster-local; `path` again."""
    cluster = {"server": server}
    if ca_file is not None:
        cluster["certificate-authority-data"] = encoded(ca_file)
    name = "posecluster-local"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def encoded(file: Path) -> str:
    """A file's bytes as kubeconfig wants them."""
    return base64.b64encode(file.read_bytes()).decode()


def _certificate(folder: Path, name: str, subject: str, names: str) -> None:
    (folder / f"{name}.ext").write_text(_USAGE + names, encoding="utf-8")
    _openssl(folder, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{name}.key")
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
    signing = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(folder, *signing, "-days", "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=True,
    )
