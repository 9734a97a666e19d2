"""The claims that the study decides, in the order of its page."""

from .claim import Claim
from .cost import COST
from .dissociation import DISSOCIATION
from .same_path import SAME_PATH
from .transfer import TRANSFER

CLAIMS: dict[str, Claim] = {
    "same_path": SAME_PATH,
    "dissociation": DISSOCIATION,
    "transfer": TRANSFER,
    "cost": COST,
}
