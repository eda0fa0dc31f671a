-- How many executions are in each public state, over all lanes.
SELECT public_state, count(*)
FROM exec_state
GROUP BY public_state
