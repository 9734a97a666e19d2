from . import analyses as analyses
from . import circuits as circuits
from . import tasks as tasks

__version__: str
