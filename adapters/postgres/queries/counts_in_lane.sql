-- How many executions of a lane are in each public state.
SELECT public_state, count(*)
FROM exec_state
WHERE lane_id || '' = %(lane_id)s
GROUP BY public_state
