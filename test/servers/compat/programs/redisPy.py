# Locks of redis-py on the server in the argument. Each line of the input is a verb and a name; the answer is true, false
# or the name of the error.
import sys

from redis import Redis

client = Redis.from_url(sys.argv[1])
held = {}

for line in sys.stdin:
    verb, name = line.rstrip("\n").split(" ", 1)
    try:
        if verb == "acquire":
            lock = client.lock(name, timeout=60)
            answer = lock.acquire(blocking=False)
            if answer:
                held[name] = lock
        elif verb == "extend":
            answer = held[name].extend(60, replace_ttl=True)
        elif verb == "release":
            held[name].release()
            answer = True
        elif verb == "locked":
            answer = client.lock(name).locked()
        elif verb == "owned":
            answer = held[name].owned()
        print(str(answer).lower(), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
