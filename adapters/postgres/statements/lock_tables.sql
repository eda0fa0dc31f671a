-- Keep all other writers and readers of the versions out: to make tables anew.
LOCK TABLE leasehold_meta IN ACCESS EXCLUSIVE MODE
