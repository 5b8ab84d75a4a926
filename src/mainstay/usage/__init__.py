"""Who uses what: the ledger of replies, what clients say of themselves, and the questions that the ledger answers."""
