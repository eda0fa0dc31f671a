-- How many executions are in each public state, in a lane or in all.
SELECT public_state, count(*)
FROM exec_state
WHERE :lane_id IS NULL OR lane_id = :lane_id
GROUP BY public_state
