#!/usr/bin/env python3
"""Ask Taglock before a push: check_push.py REPOSITORY TAG DIGEST ACTOR

Ends with status 0 if your registry can accept the push. Otherwise it must refuse it, with the HTTP
status and the body that are printed, a line for each. TAGLOCK_URL and TAGLOCK_TOKEN say whom to
ask, and with which access token.
"""

import http.client
import json
import os
import sys
import urllib.request


def check_push(repository: str, tag: str, digest: str, actor: str) -> tuple[int, object] | None:
    """Return None if the push can go ahead, or the status and body to refuse it with."""
    question = {"repository": repository, "tag": tag, "digest": digest, "actor": actor}
    headers = {
        "Authorization": f"Bearer {os.environ['TAGLOCK_TOKEN']}",
        "Content-Type": "application/json",
    }
    address = f"{os.environ['TAGLOCK_URL']}/api/v1/check-push"
    try:
        request = urllib.request.Request(address, json.dumps(question).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        refusal = answer["error"]
        return None if answer["allowed"] is True else (refusal["status"], refusal["body"])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        # Taglock is away, or did not decide: that is never a yes. The client comes back later.
        message = f"the push could not be checked ({error}): try again"
        return 503, {"errors": [{"code": "UNAVAILABLE", "message": message}]}


if __name__ == "__main__":
    if refusal := check_push(*sys.argv[1:5]):
        print(refusal[0], json.dumps(refusal[1], ensure_ascii=False), sep="\n")
        sys.exit(1)
