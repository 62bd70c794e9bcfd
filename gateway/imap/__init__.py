"""The owners' door: IMAP4rev1 (RFC 3501) for mailboxes at home in the regions served here."""
