"""Reading and writing of files of every format.

Reading is bounded: `read_bytes` opens regular files only and checks the size before it reads, and
parsers bound what they make of the content. Every defect of a file becomes a `FileError` with one
sentence. Reading never runs code.

The module `images` reads images and needs NumPy; the other modules import nothing heavy.

A file is written whole or not at all (`write_whole`). A *record* is a JSON object with a checksum
of its content, which reveals damage. A *sealed* file is a header and arrays, protected by one
checksum.
"""

from ._json import parse_json as parse_json
from ._json import parse_toml as parse_toml
from ._json import read_json as read_json
from ._json import strict as strict
from ._reading import LARGEST as LARGEST
from ._reading import FileError as FileError
from ._reading import read_bytes as read_bytes
from ._reading import read_text as read_text
from ._records import parse_record as parse_record
from ._records import read_record as read_record
from ._records import sealed_line as sealed_line
from ._records import with_checksum as with_checksum
from ._run_files import is_sealed_run as is_sealed_run
from ._run_files import metrics_lines as metrics_lines
from ._run_files import parse_metrics as parse_metrics
from ._run_files import read_of_run as read_of_run
from ._writing import as_csv as as_csv
from ._writing import write_json as write_json
from ._writing import write_whole as write_whole
