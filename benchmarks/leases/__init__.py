"""Histories of gates that borrow from one lender, with everything going wrong that can."""
