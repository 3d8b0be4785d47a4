"""Checks messages, a line of JSON each (`headers`, `body`), with the library of Standard Webhooks."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

secret, path = sys.argv[1:]
webhook = Webhook(secret)
count = 0
with open(path, encoding="utf-8") as lines:
    for line in lines:
        message = json.loads(line)
        webhook.verify(message["body"], message["headers"])
        try:
            webhook.verify(message["body"] + " ", message["headers"])
        except WebhookVerificationError:
            count += 1
        else:
            sys.exit("another body has the same signature")
print(count)
