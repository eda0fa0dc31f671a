-- The lanes that ever had an execution, one index step a lane.
WITH RECURSIVE lane (lane_id) AS (
    SELECT min(lane_id || '') FROM exec_state
    UNION ALL
    SELECT (SELECT min(e.lane_id || '') FROM exec_state AS e
        WHERE e.lane_id || '' > lane.lane_id)
    FROM lane
    WHERE lane.lane_id IS NOT NULL
)
SELECT lane_id FROM lane WHERE lane_id IS NOT NULL
