-- Tell readers above which position the events of this transaction will stand.
SELECT leasehold_take_floor()
