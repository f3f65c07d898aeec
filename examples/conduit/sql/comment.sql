-- Comments on articles. Running this file twice changes nothing.

SET ROLE conduit;

CREATE OR REPLACE FUNCTION conduit.comment_json(c conduit.comment) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'id', c.id,
    'createdAt', conduit.iso(c.created_at),
    'updatedAt', conduit.iso(c.updated_at),
    'body', c.body,
    'author', (SELECT conduit.profile_json(p) FROM conduit.profile p WHERE p.id = c.author_id));

-- GET /api/articles/{slug}/comments, newest first
CREATE OR REPLACE FUNCTION conduit.list_comments(slug text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    commented CONSTANT conduit.article := conduit.require_article(slug);
BEGIN
    RETURN jsonb_build_object('comments', ARRAY(
        SELECT conduit.comment_json(c) FROM conduit.comment c WHERE c.article_id = commented.id ORDER BY c.id DESC));
END
$$;

-- POST /api/articles/{slug}/comments
CREATE OR REPLACE FUNCTION conduit.create_comment(slug text, comment jsonb DEFAULT NULL) RETURNS forge.http_response
LANGUAGE plpgsql AS $$
DECLARE
    errors CONSTANT text[] := conduit.text_errors(comment, '{"body": 10000}');
    commented CONSTANT conduit.article := conduit.require_article(slug);
    new conduit.comment;
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    INSERT INTO conduit.comment (article_id, body) VALUES (commented.id, comment ->> 'body') RETURNING * INTO new;
    RETURN forge.http_response(200, body => jsonb_build_object('comment', conduit.comment_json(new)));
END
$$;

-- DELETE /api/articles/{slug}/comments/{id}
CREATE OR REPLACE FUNCTION conduit.delete_comment(slug text, id bigint) RETURNS forge.http_response LANGUAGE plpgsql AS $$
DECLARE
    commented CONSTANT conduit.article := conduit.require_article(slug);
BEGIN
    DELETE FROM conduit.comment c WHERE c.id = delete_comment.id AND c.article_id = commented.id;
    IF FOUND THEN
        RETURN forge.http_response(204);
    ELSIF EXISTS (SELECT FROM conduit.comment c WHERE c.id = delete_comment.id AND c.article_id = commented.id) THEN
        RAISE SQLSTATE 'PT403' USING MESSAGE = format('comment %s is somebody else''s', id);
    END IF;
    RAISE SQLSTATE 'PT404' USING MESSAGE = format('article "%s" has no comment %s', slug, id);
END
$$;

GRANT EXECUTE ON FUNCTION conduit.comment_json(conduit.comment), conduit.list_comments(text) TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.create_comment(text, jsonb), conduit.delete_comment(text, bigint) TO forge_user;

RESET ROLE;
