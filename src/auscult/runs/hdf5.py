"""The optional HDF5 library, asked for in one place and at the moment it is needed.

Several rooms read or write HDF5, and none of them may fail to import where h5py is not installed; each says what it needed it for.
"""

from __future__ import annotations

from typing import Any

from auscult.errors import MissingExtra


def require_h5py(what: str = "the HDF5 file") -> Any:
    """Return the library; a verb asks for it before minutes of work, not after them.

    Args:
        what: cannot be had without it, for the message.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("hdf5", what) from error
    return h5py
