"""A release's process that needs no Transformer Engine, and misbehaves where it is told to.

It stands in for ``release.py`` in a copy of the worker, behind the real fork server. Beside
it lies ``misbehaviour.json``: by operation (``hello``, ``save``, ``load``) and by release,
of a load by SAVER->LOADER, the name of a function below; and under ``pause`` the seconds
that every answer takes, and under ``features`` what each release exports.
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path

from matrix.worker import PROTOCOL
from matrix.worker.protocol import Channel

PLAN = json.loads((Path(__file__).parent / "misbehaviour.json").read_text())
TENSOR = {"dtype": "float32", "shape": [1], "digest": "canary", "first": [2.5], "default": False}
SITE = {
    "path": "core_attention",
    "name": "core_attention",
    "attention": True,
    "tensors": {"forward.scale": TENSOR},
}


def serve_socket(connection, start):
    log = os.open(start["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    channel = Channel(connection.makefile("rb"), connection.makefile("wb"))
    version = start["version"]
    told("hello", version)(channel, hello(start))
    while (request := channel.receive()) is not None:
        operation, who = request["op"], version
        if operation == "load":
            who = "{}->{}".format(Path(request["path"]).read_text(), version)
        time.sleep(PLAN.get("pause", 0))
        answer = ANSWERS[operation](start, request)
        told(operation, who)(channel, {"id": request["id"], "seconds": 0.0, "answer": answer})


def told(operation, who):
    return globals()[PLAN.get(operation, {}).get(who, "behave")]


def hello(start):
    return {
        "protocol": PROTOCOL,
        "release": start["version"],
        "te_file": start["source"] + "/transformer_engine/__init__.py",
        "te_version": start["version"],
        "torch": "0",
        "python": "0",
        "machine": "fake",
        "opt_in": None,
        **PLAN["features"][start["version"]],
    }


def save(start, request):
    if told("save", start["version"]) is not save_no_file:
        Path(request["path"]).write_text(start["version"])
    return {
        "outcome": "saved",
        "error": None,
        "flaws": [],
        "state_digest": start["version"],
        "keys": {},
        "parts": [SITE],
        "gaps": [],
    }


def load(_start, request):
    error = {"type": "RuntimeError", "message": "no"} if request["rewrite"] else None
    return {
        "stage": "load_state_dict" if error else "first_step",
        "error": error,
        "missing_keys": [],
        "unexpected_keys": [],
        "changed_keys": [],
        "changed_weights": [],
        "lost_recipes": [],
        "parts": [] if error else [SITE],
        "after_load": None,
        "gaps": [],
    }


def nothing(_start, _request):
    return {"gaps": []}


ANSWERS = {"save": save, "load": load, "enter": nothing, "leave": nothing}

# What a worker may do instead of answering.


def behave(channel, reply):
    channel.send(reply)


def crash(_channel, _reply):
    os.abort()


def segfault(_channel, _reply):
    ctypes.string_at(0)


def out_of_memory(_channel, _reply):
    """What is left of a process that the kernel chose."""
    os.kill(os.getpid(), 9)


def say_nothing_and_end(_channel, _reply):
    os._exit(0)


def hang(_channel, _reply):
    time.sleep(3600)


def trickle(channel, _reply):
    while True:
        channel._writer.write(b" ")
        channel._writer.flush()
        time.sleep(0.05)


def half_a_line(channel, reply):
    channel._writer.write(json.dumps(reply).encode()[:20])
    channel._writer.flush()
    os._exit(0)


def no_json(channel, _reply):
    channel._writer.write(b"Loading checkpoint shards: 100%\n")
    channel._writer.flush()


def flood(channel, _reply):
    """100 MB in one line."""
    for _ in range(100):
        channel._writer.write(b"x" * 1_000_000)
    channel._writer.write(b"\n")
    channel._writer.flush()


def babble(channel, reply):
    """100 MB on standard output, and then the right answer."""
    for _ in range(100):
        sys.stdout.write("x" * 1_000_000)
    sys.stdout.flush()
    channel.send(reply)


def answer_another(channel, reply):
    channel.send(dict(reply, id=reply["id"] - 1))


def answer_with_nothing(channel, reply):
    channel.send({"id": reply["id"]})


def answer_without_sites(channel, reply):
    del reply["answer"]["parts"]
    channel.send(reply)


def answer_with_a_foreign_stage(channel, reply):
    channel.send(dict(reply, answer=dict(reply["answer"], stage="lift-off")))


def fail_without_words(channel, reply):
    channel.send({"id": reply["id"], "failure": {}})


def save_no_file(channel, reply):
    """Say that it is saved, see above, when it is not."""
    channel.send(reply)


def speak_another_protocol(channel, reply):
    channel.send(dict(reply, protocol=PROTOCOL + 1))


def lie_about_its_release(channel, reply):
    channel.send(dict(reply, release="9.9"))


def import_another(channel, reply):
    channel.send(dict(reply, te_file="/usr/lib/transformer_engine/__init__.py"))


def not_say_what_it_is(channel, _reply):
    channel.send({"protocol": PROTOCOL})
