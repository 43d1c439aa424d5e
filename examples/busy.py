"""A program that keeps a CPU busy in many ways: the subject of the first flame graph.

It imports, parses, compresses, hashes, sorts, searches, queries a database and asks the kernel; in each round it does
a little of all, so that the picture has a tower for each.  Usage: busy.py [SECONDS]
"""

import bisect
import hashlib
import json
import lzma
import os
import re
import sqlite3
import sys
import tempfile
import time
import zlib
from random import Random

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards box with great vigor".split()


def make_text(random: Random, words: int) -> str:
    return " ".join(random.choice(WORDS) for _ in range(words))


def compress(text: str) -> int:
    data = text.encode()
    return len(zlib.compress(data, 9)) + len(lzma.compress(data, preset=1))


def checksum(text: str) -> str:
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(text.encode())
    return digest.hexdigest()


def parse(random: Random) -> int:
    records = [{"id": i, "name": make_text(random, 3), "value": random.random()} for i in range(300)]
    text = json.dumps(records)
    return sum(len(record["name"]) for record in json.loads(text))


def search(text: str) -> int:
    pattern = re.compile(r"(\w+) (?:fox|dog|box) (?=\w*[aeiou]\w*)")
    return sum(len(match.group(1)) for match in pattern.finditer(text))


def sort_and_find(random: Random) -> int:
    numbers = sorted(random.random() for _ in range(30_000))
    return sum(bisect.bisect(numbers, i / 1000) for i in range(1000))


def query(database: sqlite3.Connection, random: Random) -> float:
    rows = [(random.choice(WORDS), random.random()) for _ in range(2_000)]
    database.executemany("INSERT INTO sales VALUES (?, ?)", rows)
    (total,) = database.execute(
        "SELECT max(total) FROM (SELECT item, sum(price) AS total FROM sales GROUP BY item ORDER BY item)"
    ).fetchone()
    database.execute("DELETE FROM sales WHERE price < 0.9")
    return float(total)


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def write_files(folder: str, text: str) -> int:
    size = 0
    for number in range(40):
        path = os.path.join(folder, f"{number}.txt")
        with open(path, "w") as out:
            out.write(text)
        size += os.stat(path).st_size
        os.unlink(path)
    return size


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    end = time.monotonic() + seconds
    random = Random(1)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE sales (item TEXT, price REAL)")
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            text = make_text(random, 8_000)
            compress(text)
            checksum(text)
            parse(random)
            search(text)
            sort_and_find(random)
            query(database, random)
            fibonacci(18)
            write_files(folder, text)
            rounds += 1
    print(f"{rounds} rounds in {seconds:g} s")


if __name__ == "__main__":
    main()
