-- Which node finished how many jobs. A node that left or died may be gone from forge.nodes.
SELECT job.node_id, count(*) AS jobs FROM job WHERE job.state = 'completed' GROUP BY 1 ORDER BY 2 DESC;
