-- Articles: writing, changing, reading and listing them. Running this file twice changes nothing.

SET ROLE conduit;

CREATE OR REPLACE FUNCTION conduit.article_json(a conduit.article) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'slug', a.slug,
    'title', a.title,
    'description', a.description,
    'tagList', ARRAY(SELECT t.tag FROM conduit.article_tag t WHERE t.article_id = a.id ORDER BY t.tag),
    'createdAt', conduit.iso(a.created_at),
    'updatedAt', conduit.iso(a.updated_at),
    'favorited', EXISTS (SELECT FROM conduit.favorite f WHERE f.article_id = a.id AND f.profile_id = conduit.me()),
    'favoritesCount', (SELECT count(*) FROM conduit.favorite f WHERE f.article_id = a.id),
    'author', (SELECT conduit.profile_json(p) FROM conduit.profile p WHERE p.id = a.author_id));

-- The article of this slug, or 404.
CREATE OR REPLACE FUNCTION conduit.require_article(slug text) RETURNS conduit.article LANGUAGE plpgsql STABLE AS $$
DECLARE
    found_article conduit.article;
BEGIN
    SELECT * INTO found_article FROM conduit.article a WHERE a.slug = require_article.slug;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'PT404' USING MESSAGE = format('there is no article "%s"', slug);
    END IF;
    RETURN found_article;
END
$$;

-- The policies hide other people's articles from UPDATE and DELETE; this says what became of one that was not found.
CREATE OR REPLACE FUNCTION conduit.refuse_article(slug text) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM conduit.require_article(slug);
    RAISE SQLSTATE 'PT403' USING MESSAGE = format('article "%s" is somebody else''s', slug);
END
$$;

-- GET /api/articles/{slug}
CREATE OR REPLACE FUNCTION conduit.get_article(slug text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    a CONSTANT conduit.article := conduit.require_article(slug);
BEGIN
    RETURN jsonb_build_object('article', conduit.article_json(a) || jsonb_build_object('body', a.body));
END
$$;

-- One page of the articles that match, newest first, without their bodies; filters that are null let all through.
CREATE OR REPLACE FUNCTION conduit.article_page(
    tag text, author text, favorited text, followed boolean, "limit" int, "offset" int
) RETURNS forge.http_response LANGUAGE plpgsql STABLE AS $$
DECLARE
    answer jsonb;
BEGIN
    IF "limit" < 1 OR "offset" < 0 THEN
        RETURN conduit.invalid(ARRAY['limit must be at least 1 and offset at least 0']);
    END IF;
    WITH matching AS (
        SELECT a AS article, a.created_at, a.id
        FROM conduit.article a
        WHERE (article_page.tag IS NULL OR EXISTS (
                SELECT FROM conduit.article_tag t WHERE t.article_id = a.id AND t.tag = article_page.tag))
            AND (article_page.author IS NULL OR a.author_id = (
                SELECT p.id FROM conduit.profile p WHERE lower(p.username) = lower(article_page.author)))
            AND (article_page.favorited IS NULL OR EXISTS (
                SELECT FROM conduit.favorite f JOIN conduit.profile p ON p.id = f.profile_id
                WHERE f.article_id = a.id AND lower(p.username) = lower(article_page.favorited)))
            AND (article_page.followed IS NULL OR EXISTS (
                SELECT FROM conduit.follow f WHERE f.follower_id = conduit.me() AND f.followed_id = a.author_id))
    ), page AS (
        SELECT * FROM matching m ORDER BY m.created_at DESC, m.id DESC
        LIMIT least(article_page."limit", 100) OFFSET article_page."offset"
    )
    SELECT jsonb_build_object(
        'articles', coalesce(jsonb_agg(conduit.article_json(p.article) ORDER BY p.created_at DESC, p.id DESC), '[]'),
        'articlesCount', (SELECT count(*) FROM matching))
    INTO answer FROM page p;
    RETURN forge.http_response(200, body => answer);
END
$$;

-- GET /api/articles
CREATE OR REPLACE FUNCTION conduit.list_articles(
    tag text DEFAULT NULL, author text DEFAULT NULL, favorited text DEFAULT NULL,
    "limit" int DEFAULT 20, "offset" int DEFAULT 0
) RETURNS forge.http_response LANGUAGE sql STABLE
RETURN conduit.article_page(tag, author, favorited, NULL, "limit", "offset");

-- GET /api/articles/feed: of the people whom the caller follows
CREATE OR REPLACE FUNCTION conduit.feed_articles("limit" int DEFAULT 20, "offset" int DEFAULT 0)
RETURNS forge.http_response LANGUAGE sql STABLE
RETURN conduit.article_page(NULL, NULL, NULL, true, "limit", "offset");

-- The title as it reads in an address; another one's, or a path of the API, gets an ending of its own.
CREATE OR REPLACE FUNCTION conduit.free_slug(title text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    plain CONSTANT text := coalesce(
        nullif(btrim(regexp_replace(lower(title), '[^[:alnum:]]+', '-', 'g'), '-'), ''), 'article');
BEGIN
    IF plain = 'feed' OR EXISTS (SELECT FROM conduit.article a WHERE a.slug = plain) THEN
        RETURN plain || '-' || left(gen_random_uuid()::text, 8);
    END IF;
    RETURN plain;
END
$$;

CREATE OR REPLACE FUNCTION conduit.article_errors(given jsonb, partial boolean) RETURNS text[] LANGUAGE sql STABLE
RETURN conduit.text_errors(given, '{"title": 200, "description": 1000, "body": 100000}', partial)
    || conduit.tag_errors(given -> 'tagList')
    || CASE WHEN partial AND NOT coalesce(given ?| '{title,description,body,tagList}', false)
        THEN '{"article can''t be blank"}'::text[] ELSE '{}' END;

-- POST /api/articles
CREATE OR REPLACE FUNCTION conduit.create_article(request jsonb) RETURNS forge.http_response LANGUAGE plpgsql AS $$
DECLARE
    given CONSTANT jsonb := request -> 'article';
    errors CONSTANT text[] := conduit.article_errors(given, false);
    new conduit.article;
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    INSERT INTO conduit.article (slug, title, description, body)
        VALUES (conduit.free_slug(given ->> 'title'), given ->> 'title', given ->> 'description', given ->> 'body')
        RETURNING * INTO new;
    PERFORM conduit.set_tags(new.id, given -> 'tagList');
    RETURN forge.http_response(201, body => conduit.get_article(new.slug));
END
$$;

-- PUT /api/articles/{slug}; fields that are not given stay, a new title makes a new slug.
CREATE OR REPLACE FUNCTION conduit.update_article(slug text, article jsonb DEFAULT NULL) RETURNS forge.http_response
LANGUAGE plpgsql AS $$
DECLARE
    errors CONSTANT text[] := conduit.article_errors(article, true);
    changed conduit.article;
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    UPDATE conduit.article a SET
        slug = CASE WHEN article ->> 'title' <> a.title THEN conduit.free_slug(article ->> 'title') ELSE a.slug END,
        title = coalesce(article ->> 'title', a.title),
        description = coalesce(article ->> 'description', a.description),
        body = coalesce(article ->> 'body', a.body),
        updated_at = now()
    WHERE a.slug = update_article.slug
    RETURNING * INTO changed;
    IF NOT FOUND THEN
        PERFORM conduit.refuse_article(slug);
    END IF;
    PERFORM conduit.set_tags(changed.id, article -> 'tagList');
    RETURN forge.http_response(200, body => conduit.get_article(changed.slug));
END
$$;

-- DELETE /api/articles/{slug}, with its comments
CREATE OR REPLACE FUNCTION conduit.delete_article(slug text) RETURNS forge.http_response LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM conduit.article a WHERE a.slug = delete_article.slug;
    IF NOT FOUND THEN
        PERFORM conduit.refuse_article(slug);
    END IF;
    RETURN forge.http_response(204);
END
$$;

GRANT EXECUTE ON FUNCTION conduit.article_json(conduit.article), conduit.require_article(text), conduit.get_article(text),
    conduit.article_page(text, text, text, boolean, int, int), conduit.list_articles(text, text, text, int, int)
    TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.feed_articles(int, int), conduit.free_slug(text), conduit.refuse_article(text),
    conduit.article_errors(jsonb, boolean), conduit.create_article(jsonb), conduit.update_article(text, jsonb),
    conduit.delete_article(text) TO forge_user;

RESET ROLE;
