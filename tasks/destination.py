"""Where something will be written; see `circuits.destination`."""

from ..circuits.destination import file_name_problems as file_name_problems
from ..circuits.destination import file_problems as file_problems
from ..circuits.destination import folder_problems as folder_problems
from ..circuits.destination import input_problems as input_problems
from ..circuits.destination import room_problems as room_problems
