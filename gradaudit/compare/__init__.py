"""Two audits of a config held against each other: what changed, and what that does.

Pure: the files are already read and judged. `changes.compare` is the way in; `pairs` alone is what
`check --since` needs.
"""
