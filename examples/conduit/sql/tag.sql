-- Tags of articles. Running this file twice changes nothing.

SET ROLE conduit;

-- What is wrong with an article's list of tags; none is fine.
CREATE OR REPLACE FUNCTION conduit.tag_errors(tags jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN tags IS NULL OR jsonb_typeof(tags) = 'null' THEN '{}'
    WHEN jsonb_typeof(tags) <> 'array' OR jsonb_array_length(tags) > 50 THEN '{tagList must be a list of at most 50 tags}'
    WHEN EXISTS (
        SELECT FROM jsonb_array_elements(tags) tag
        WHERE jsonb_typeof(tag) <> 'string' OR (tag #>> '{}') !~ '\S' OR length(tag #>> '{}') > 60)
        THEN '{"tagList may have strings of 1 to 60 characters only"}'
    ELSE '{}' END::text[];

-- Makes these the article's tags; without any given they stay as they are.
CREATE OR REPLACE FUNCTION conduit.set_tags(article_id bigint, tags jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(tags) = 'array' THEN
        DELETE FROM conduit.article_tag t WHERE t.article_id = set_tags.article_id;
        INSERT INTO conduit.article_tag (article_id, tag)
            SELECT DISTINCT set_tags.article_id, btrim(tag) FROM jsonb_array_elements_text(tags) tag;
    END IF;
END
$$;

-- GET /api/tags: the most used ones first
CREATE OR REPLACE FUNCTION conduit.list_tags() RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('tags', ARRAY(
    SELECT t.tag FROM conduit.article_tag t GROUP BY t.tag ORDER BY count(*) DESC, t.tag LIMIT 100));

GRANT EXECUTE ON FUNCTION conduit.list_tags() TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.tag_errors(jsonb), conduit.set_tags(bigint, jsonb) TO forge_user;

RESET ROLE;
