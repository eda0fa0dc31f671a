-- The ids of a page of the executions of a lane in one public state. Their rows, with
-- payloads, are read once it is known which of all lanes and states make the page.
SELECT execution_id
FROM exec_state
WHERE lane_id || '' = %(lane_id)s
    AND public_state = %(public_state)s
    AND execution_id || '' > %(after)s
    AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
ORDER BY execution_id || ''
LIMIT %(most)s
