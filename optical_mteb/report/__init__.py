"""One static page of the scores in a result folder."""

from optical_mteb.errors import require

require("jinja2", "report", "a report")
