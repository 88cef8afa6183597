"""Files: one place that reads and writes them, whatever their format.

Reading begins with what costs nothing: `read_bytes` opens regular files only, and looks at a file's
size before its content. What is then made of the content is bounded as well, and whatever is wrong
with a file becomes one `FileError` with one sentence. Nothing that is read runs code.

Images are read by the module `images`, which needs NumPy; the rest imports nothing heavy.

Writing is whole or not at all (`write_whole`). A *record* is a JSON object that carries a checksum
of itself, so that a damaged one is told from a whole one; a *sealed* file is a header with arrays
behind one checksum.
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
