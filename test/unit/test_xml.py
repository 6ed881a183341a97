#!/usr/bin/python3
"""src/core/xml reads the elements that an XML library reads, and refuses what that refuses.

What the scanner does not know (documents with a type, CDATA sections, processing instructions, elements within the one
that is asked for, many levels) it refuses as well: that much is allowed to differ, and that it looks neither at
attributes nor at the encoding of what it passes on.

Covers: core/xml.
"""

import os
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SEED = 5
RANDOM_DOCUMENTS = 4000
MUTATIONS = 6000
PATH = "AssumeRoleResponse/AssumeRoleResult/Credentials/AccessKeyId"

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <SourceIdentity/>
    <AssumedRoleUser><Arn a='b>c'>arn:aws:sts::1:assumed-role/x/y</Arn></AssumedRoleUser>
    <!-- <Credentials> - -->
    <Credentials>
      <AccessKeyId>ASIA&amp;&#x26;&#38;&lt;&gt;&quot;&apos;/+= x</AccessKeyId>
      <SecretAccessKey> </SecretAccessKey >
    </Credentials>
    <Credentials><AccessKeyId>second</AccessKeyId></Credentials>
  </AssumeRoleResult>
</AssumeRoleResponse>
"""


def wrap(text):
    return f"<a><b>{text}</b></a>"


# (document, path, expected), for what an oracle can't judge
CASES = [
    (ANSWER, PATH, "ASIA&&&<>\"'/+= x"),
    (ANSWER, "AssumeRoleResponse/AssumeRoleResult/Credentials/SecretAccessKey", ""),
    (ANSWER, "AssumeRoleResponse/AssumeRoleResult/SourceIdentity", ""),
    (ANSWER, "AssumeRoleResponse/AssumeRoleResult/Credentials/SessionToken", "absent"),
    (ANSWER, "AssumeRoleResult/Credentials/AccessKeyId", "absent"),
    (ANSWER, "AssumeRoleResponse/AssumeRoleResult/Credentials", "malformed"),
    (ANSWER[:-30], PATH, "malformed"),
    (ANSWER + "<x/>", PATH, "malformed"),
    (ANSWER + "x", PATH, "malformed"),
    ("x" + ANSWER, PATH, "malformed"),
    ("", "a", "malformed"),
    ("   ", "a", "malformed"),
    ("hello", "a", "malformed"),
    ("<a/>", "a", ""),
    ("<a/>", "b", "absent"),
    ("<p:a xmlns:p='x'><p:b>1</p:b></p:a>", "a/b", "1"),
    (wrap(" \n 1 2 \t"), "a/b", "1 2"),
    (wrap("&#228;&#x20AC;&#x1F600;"), "a/b", "ä€\U0001f600"),
    (wrap("1<!-- - x --><!---->2"), "a/b", "12"),
    (wrap("<c/>"), "a/b", "malformed"),
    (wrap("<![CDATA[x]]>"), "a/b", "malformed"),
    ("<!DOCTYPE a [<!ENTITY x 'y'>]>" + wrap("&x;"), "a/b", "malformed"),
    (wrap("&nbsp;"), "a/b", "malformed"),
    (wrap("&"), "a/b", "malformed"),
    (wrap("&#0;"), "a/b", "malformed"),
    (wrap("&#;"), "a/b", "malformed"),
    (wrap("&#x;"), "a/b", "malformed"),
    (wrap("&#xD800;"), "a/b", "malformed"),
    (wrap("&#x110000;"), "a/b", "malformed"),
    (wrap("&#99999999999999999999;"), "a/b", "malformed"),
    (wrap("&#38"), "a/b", "malformed"),
    (wrap("\0"), "a/b", "malformed"),
    ("<a><b>1</a></b>", "a/b", "malformed"),
    ("<a><b>1</c></a>", "a/b", "malformed"),
    ("<a b=c/>", "a", "malformed"),
    ("<a b='<'/>", "a", "malformed"),
    ("<a b='x'c='y'/>", "a", "malformed"),
    ("<a b/>", "a", "malformed"),
    ("<1a/>", "1a", "malformed"),
    ("<a><!-- x</a>", "a", "malformed"),
    ("<a", "a", "malformed"),
    ("<a b='", "a", "malformed"),
    ("<a/", "a", "malformed"),
    ("</a>", "a", "malformed"),
    ("<?xml", "a", "malformed"),
    ("<d>" * 16 + "</d>" * 16, "d/e", "absent"),
    ("<d>" * 17 + "</d>" * 17, "d/e", "malformed"),
    (wrap("x" * 63), "a/b", "x" * 63),
    (wrap("x" * 64), "a/b", "too-long"),
    (wrap("x" * 5000), "a/b", "too-long"),
]

passed = failed = 0


def check(name, good, details):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"not ok: {name}\n   {details}")


def ask(questions):
    tool = os.path.join(os.environ["UNIT_BUILD"], "tool_text")
    text = "".join(f"xml {path} {size} {document.hex() or '-'}\n" for document, path, size in questions)
    run = subprocess.run([tool], input=text, capture_output=True, text=True, check=True)
    answers = []
    for line in run.stdout.splitlines():
        status, *rest = line.split(" ", 1)
        answers.append(bytes.fromhex(rest[0].replace("-", "")).decode(errors="replace") if status == "found" else line)
    return answers


def unknown(document):
    """What the scanner refuses, and a library need not."""
    return any(mark in document for mark in (b"<!D", b"<![", b"<?", b"--->")) or document.count(b"<!--") > 0


def is_utf8(document):
    try:
        document.decode()
    except UnicodeDecodeError:
        return False
    return True


def by_library(document, path):
    """The text, or None: absent; raises where it is malformed."""
    root = ElementTree.fromstring(document)
    for node in root.iter():
        # the scanner knows no namespaces
        node.tag = node.tag.split("}")[-1] if isinstance(node.tag, str) else ""
    first, *rest = path.split("/")
    if root.tag != first:
        return None
    # the first element at the path, in the order of the document
    nodes = [root]
    for name in rest:
        nodes = [child for node in nodes for child in node if child.tag == name]
    if not nodes:
        return None
    node = nodes[0]
    return "malformed" if len(node) else (node.text or "").strip(" \t\r\n")


def random_document(rng):
    def element(depth):
        name = rng.choice("abc")
        inner = "".join(
            rng.choice([" ", "x", "&amp;", "&#65;", "\n", "ä"]) if depth == 0 or rng.random() < 0.4 else element(depth - 1)
            for _ in range(rng.randint(0, 3))
        )
        return f"<{name}>{inner}</{name}>" if inner or rng.random() < 0.5 else f"<{name} x='1'/>"

    return element(rng.randint(0, 4)).encode()


def mutate(rng, document):
    data = bytearray(document)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.random()
        if kind < 0.4 and data:
            del data[min(at, len(data) - 1)]
        elif kind < 0.8:
            data[at:at] = rng.choice([b"<", b">", b"/", b"&", b"'", b'"', b"a", b" ", b"=", b"</a>", b"<a>", b"&#1;", b"\0"])
        else:
            data[:] = data[: at or 1]
    return bytes(data)


def main():
    rng = random.Random(SEED)
    answers = ask([(document.encode(), path, 64) for document, path, _ in CASES])
    for (document, path, expected), got in zip(CASES, answers, strict=True):
        check(f"{path} of {document[:60]!r}", got == expected, f"got {got!r}, expected {expected!r}")

    documents = [random_document(rng) for _ in range(RANDOM_DOCUMENTS)]
    documents += [mutate(rng, rng.choice(documents)) for _ in range(MUTATIONS // 2)]
    documents += [mutate(rng, ANSWER.encode()) for _ in range(MUTATIONS // 2)]
    questions = [(document, rng.choice(["a", "a/b", "b/a", "a/b/c", "c"]) if b"Assume" not in document else PATH, 256)
                 for document in documents]  # fmt: skip
    accepted = 0
    for (document, path, _), got in zip(questions, ask(questions), strict=True):
        try:
            expected = by_library(document, path)
        except LookupError:
            continue  # an encoding of no known name
        except ElementTree.ParseError:
            # an attribute twice and the like: the scanner keeps none of them
            check(f"{path} of {document!r}", got == "malformed" or b"=" in document or not is_utf8(document),
                  f"got {got!r}, and it is malformed")  # fmt: skip
            continue
        if got == "malformed" and unknown(document):
            continue
        accepted += 1
        check(f"{path} of {document!r}", got == ("absent" if expected is None else expected),
              f"got {got!r}, expected {expected!r}")  # fmt: skip
    check("enough documents were read", accepted > RANDOM_DOCUMENTS, accepted)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
