"""Books: chargeback, exports, and what a changed policy would have done."""
