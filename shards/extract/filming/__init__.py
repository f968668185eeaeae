"""Video files that are written: filmed clips whose events are known, and small copies that every browser plays."""
