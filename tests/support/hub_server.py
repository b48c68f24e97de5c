"""A stand-in for the Hugging Face hub: the few endpoints that reading and pushing call, over HTTP, in memory.

It answers as the hub does where it matters here: files above a size, or of some kinds, go through large-file storage
and are served by a redirect; private repositories look absent without a token; errors carry `X-Error-Code`.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_standInToken123456"
LFS_SUFFIX = ".safetensors"


@dataclass
class Repository:
    """A repository: commits by id, each with all its files, and what branches point to."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.branches:
            self.commit("main", {}, "initial commit")

    def commit(self, branch: str, files: dict[str, bytes], message: str = "change") -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        identity = hashlib.sha1(f"{len(self.commits)}{branch}{message}".encode()).hexdigest()
        self.commits[identity] = {**before, **files}
        self.branches[branch] = identity
        self.messages.append(message)
        return identity

    def resolved(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)]


@dataclass
class Hub:
    """The stand-in, and what it was asked.

    Attributes:
        url: its endpoint.
        repositories: by OWNER/NAME.
        requests: method and path of each request, with whether a token came along.
        fault: what is done instead of answering a request (method, path): a status, "truncate", "hang", "page"
            or "echo", which says the token.
        is_open: whether anyone may write.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, bool]] = field(default_factory=list)
    fault: Callable[[str, str], int | str | None] = lambda _method, _path: None
    is_open: bool = False

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False, gated: bool = False) -> Repository:
        """Add a repository with files on its main branch."""
        self.repositories[name] = made = Repository(private, gated)
        made.commit("main", files)
        return made


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """Serve a hub until the end of the block."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def point_to(hub: Hub, cache: Any, patch: pytest.MonkeyPatch, token: str | None = None) -> None:
    """Let the library in this process use a hub and a cache of its own, with this token; and never wait for long."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    patch.setattr(time, "sleep", lambda _: None)
    patch.delenv("HF_TOKEN", raising=False)
    if token:
        patch.setenv("HF_TOKEN", token)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing of callers that have gone away."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request after the other of a connection."""

    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self._path, self._query = unquote(parts.path), parse_qs(parts.query)
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self._may_write = self._known or self.state.is_open
        self.state.requests.append((self.command, self._path, "Authorization" in self.headers))
        fault = self.state.fault(self.command, self._path)
        if fault == "hang":
            self.close_connection = True
            self.connection.settimeout(5)  # the caller gives up before
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            return
        if fault == "truncate":
            self._answer(200, b"half", {"Content-Length": "100", "Connection": "close"})
            self.close_connection = True
            return
        if fault == "page":
            self._answer(200, b"<html>Log in to this network</html>")
            return
        if fault == "echo":
            self._error(403, None, f"not with {self.headers.get('Authorization')}")
            return
        if isinstance(fault, int):
            self._error(fault, None, "as it was told to")
            return
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {self._path}"):
                answer(self, **match.groupdict())
                return
        self._error(404, None, "no such endpoint")

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, document: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, json.dumps({"error": message}).encode(), headers)

    def _repository(self, name: str) -> Repository | None:
        """Return a repository that the caller may see; answer for one that it may not."""
        found = self.state.repositories.get(name)
        if found is None or (found.private and not self._known):
            if self._known:
                self._error(404, "RepoNotFound", "Repository not found")
            else:
                self._error(401, "RepoNotFound", "Invalid username or password.")
            return None
        return found

    def _revision(self, found: Repository, revision: str | None) -> str | None:
        identity = found.resolved(revision or "main")
        if identity is None:
            self._error(404, "RevisionNotFound", "Invalid rev id: " + str(revision))
        return identity

    def info(self, name: str, revision: str | None = None) -> None:
        found = self._repository(name)
        if found and (identity := self._revision(found, revision)):
            siblings = [{"rfilename": path, "size": len(content)} for path, content in found.files(identity).items()]
            self._json({"id": name, "sha": identity, "private": found.private, "siblings": siblings})

    def resolve(self, name: str, revision: str, file: str) -> None:
        found = self._repository(name)
        if not found or not (identity := self._revision(found, revision)):
            return
        if found.gated and not self._known:
            self._error(401, "GatedRepo", "Access to model is restricted.")
            return
        content = found.files(identity).get(file)
        if content is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": identity, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if file.endswith(LFS_SUFFIX):
            oid = hashlib.sha256(content).hexdigest()
            self.state.objects[oid] = content
            headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(content))}
            elsewhere = self.state.url.replace("127.0.0.1", "localhost")  # the hub's storage is another host
            self._answer(302, b"", headers | {"Location": f"{elsewhere}/storage/{oid}"})
            return
        self._answer(200, content, headers)

    def stored(self, oid: str) -> None:
        self._answer(200, self.state.objects[oid])

    def create(self) -> None:
        asked = json.loads(self._body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self._may_write:
            self._error(401, None, "Invalid username or password.")
        elif asked["organization"] == "others":
            self._error(403, None, "You don't have the rights to create a model under this namespace")
        elif name in self.state.repositories:
            self._json({"error": "You already created this model repo", "url": f"{self.state.url}/{name}"}, 409)
        else:
            private = asked.get("visibility") == "private" or bool(asked.get("private"))  # as the library's age has it
            self.state.repositories[name] = Repository(private)
            self._json({"url": f"{self.state.url}/{name}"})

    def validate(self) -> None:
        import yaml

        content = json.loads(self._body)["content"]
        metadata = yaml.safe_load(content.split("---\n")[1])
        errors = [] if isinstance(metadata, dict) and metadata.get("license") else [{"message": '"license" is missing'}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        found = self._repository(name)
        if not found or not self._revision(found, revision):
            return
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LFS_SUFFIX) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(self._body)["files"]
        ]
        self._json({"files": files})

    def batch(self, name: str) -> None:
        if not self._repository(name):
            return
        objects: list[dict[str, Any]] = []
        for one in json.loads(self._body)["objects"]:
            upload = {"href": f"{self.state.url}/storage/{one['oid']}"}
            there = one["oid"] in self.state.objects
            objects.append({**one, **({} if there else {"actions": {"upload": upload}})})
        self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self._body).hexdigest() == oid
        self.state.objects[oid] = self._body
        self._answer(200)

    def commit(self, name: str, revision: str) -> None:
        found = self._repository(name)
        if not found or not self._revision(found, revision):
            return
        if not self._may_write:
            self._error(403, None, "you may not write here")
            return
        lines = [json.loads(line) for line in self._body.splitlines()]
        files: dict[str, bytes] = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.state.objects[value["oid"]]
        asks = "create_pr" in self._query
        branch = "refs/pr/1" if asks else revision
        identity = found.commit(branch, files, lines[0]["value"]["summary"])
        document = {"commitUrl": f"{self.state.url}/{name}/commit/{identity}", "commitOid": identity}
        if asks:
            document["pullRequestUrl"] = f"{self.state.url}/{name}/discussions/1"
        self._json({"success": True, **document})

    def branch(self, name: str, branch: str) -> None:
        found = self._repository(name)
        if not found:
            return
        if branch in found.branches:
            self._error(409, None, "Reference already exists")
            return
        found.branches[branch] = found.branches["main"]
        self._json({})


_NAME = r"(?P<name>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (rf"GET /api/models/{_NAME}", _Handler.info),
    (rf"GET /api/models/{_NAME}/revision/(?P<revision>.+)", _Handler.info),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/(?P<revision>refs/pr/\d+|[^/]+)/(?P<file>.+)", _Handler.resolve),
    (r"(?:GET|HEAD) /storage/(?P<oid>\w+)", _Handler.stored),
    (r"PUT /storage/(?P<oid>\w+)", _Handler.store),
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_NAME}/preupload/(?P<revision>.+)", _Handler.preupload),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (rf"POST /api/models/{_NAME}/commit/(?P<revision>.+)", _Handler.commit),
    (rf"POST /api/models/{_NAME}/branch/(?P<branch>.+)", _Handler.branch),
]
