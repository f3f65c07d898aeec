-- Favorites: articles that somebody likes. Running this file twice changes nothing.

SET ROLE conduit;

-- POST /api/articles/{slug}/favorite
CREATE OR REPLACE FUNCTION conduit.favorite_article(slug text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    liked CONSTANT conduit.article := conduit.require_article(slug);
BEGIN
    INSERT INTO conduit.favorite (article_id) VALUES (liked.id) ON CONFLICT DO NOTHING;
    RETURN conduit.get_article(slug);
END
$$;

-- DELETE /api/articles/{slug}/favorite
CREATE OR REPLACE FUNCTION conduit.unfavorite_article(slug text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    liked CONSTANT conduit.article := conduit.require_article(slug);
BEGIN
    DELETE FROM conduit.favorite f WHERE f.article_id = liked.id AND f.profile_id = conduit.me();
    RETURN conduit.get_article(slug);
END
$$;

GRANT EXECUTE ON FUNCTION conduit.favorite_article(text), conduit.unfavorite_article(text) TO forge_user;

RESET ROLE;
