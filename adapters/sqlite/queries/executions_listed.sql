-- The ids of a page of the executions of a lane in one public state. Their rows, with
-- payloads, are read once it is known which of all lanes and states make the page.
SELECT execution_id
FROM exec_state
WHERE lane_id = :lane_id
    AND public_state = :public_state
    AND execution_id > :after
    AND (:namespace IS NULL OR namespace = :namespace)
ORDER BY execution_id
LIMIT :most
