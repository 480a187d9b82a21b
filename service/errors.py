"""What the person at the terminal can mend."""


class UserError(Exception):
    """One sentence in the user's words with the fix; the command ends with exit code 2."""
