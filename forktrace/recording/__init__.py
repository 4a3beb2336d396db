"""A trace kept in a file: gzip-compressed JSON Lines that any tool can read.

``zcat FILE | jq`` works anywhere. The first line is a header (``"type": "header"``).
Then come, as they happened, ``fork`` (the published JSON of a fork and nothing else),
``mappings`` (names of the mappings of the fork that stands after it), ``exec`` (a child
that threw its copies away) and, with each write, ``progress`` (what was lost so far).
``summary`` is the last line of a recording that ended well. Each write is a gzip member
of its own, made at least every second, so that whatever ends the writer costs no more
than that.
"""
