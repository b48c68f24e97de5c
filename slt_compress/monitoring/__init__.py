"""Whether a deployed network still sees what it was made for: counts of its images beside a reference, and alarms.

May import `errors`, `files`, `progress`, `config`, `data`, `models`, `plotting`, `ticket`, `evaluation` and
`prediction`.
"""
