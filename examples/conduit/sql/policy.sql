-- Who may see and change which rows, whatever function or statement asks: the whole authorisation of Conduit, with the
-- GRANT EXECUTE beside each function. Running this file twice changes nothing.
--
-- Anonymous callers have the role forge_anon, people who have logged in forge_user, and `conduit.me()` is who they are.
-- No policy for a command means no row; columns that are not granted cannot be written at all.

SET ROLE conduit;

GRANT USAGE ON SCHEMA conduit TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.me() TO forge_anon, forge_user;

ALTER TABLE conduit.profile     ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.account     ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.follow      ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.article     ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.article_tag ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.favorite    ENABLE ROW LEVEL SECURITY;
ALTER TABLE conduit.comment     ENABLE ROW LEVEL SECURITY;

-- Everybody reads profiles, articles, tags, favorites and comments.
GRANT SELECT ON conduit.profile, conduit.article, conduit.article_tag, conduit.favorite, conduit.comment
    TO forge_anon, forge_user;
DROP POLICY IF EXISTS everybody_reads ON conduit.profile;
CREATE POLICY everybody_reads ON conduit.profile FOR SELECT USING (true);
DROP POLICY IF EXISTS everybody_reads ON conduit.article;
CREATE POLICY everybody_reads ON conduit.article FOR SELECT USING (true);
DROP POLICY IF EXISTS everybody_reads ON conduit.article_tag;
CREATE POLICY everybody_reads ON conduit.article_tag FOR SELECT USING (true);
DROP POLICY IF EXISTS everybody_reads ON conduit.favorite;
CREATE POLICY everybody_reads ON conduit.favorite FOR SELECT USING (true);
DROP POLICY IF EXISTS everybody_reads ON conduit.comment;
CREATE POLICY everybody_reads ON conduit.comment FOR SELECT USING (true);

-- Users are made by conduit.register_user alone, and change themselves.
GRANT UPDATE (username, bio, image) ON conduit.profile TO forge_user;
DROP POLICY IF EXISTS own_is_changed ON conduit.profile;
CREATE POLICY own_is_changed ON conduit.profile FOR UPDATE USING (id = conduit.me());

-- The hash of a password can be replaced, not read.
GRANT SELECT (profile_id, email), UPDATE (email, password) ON conduit.account TO forge_user;
DROP POLICY IF EXISTS own_is_read ON conduit.account;
CREATE POLICY own_is_read ON conduit.account FOR SELECT USING (profile_id = conduit.me());
DROP POLICY IF EXISTS own_is_changed ON conduit.account;
CREATE POLICY own_is_changed ON conduit.account FOR UPDATE USING (profile_id = conduit.me());

-- Whom somebody follows is nobody else's business.
GRANT SELECT ON conduit.follow TO forge_anon, forge_user;
GRANT INSERT, DELETE ON conduit.follow TO forge_user;
DROP POLICY IF EXISTS own ON conduit.follow;
CREATE POLICY own ON conduit.follow USING (follower_id = conduit.me());

GRANT INSERT (slug, author_id, title, description, body), UPDATE (slug, title, description, body, updated_at), DELETE
    ON conduit.article TO forge_user;
DROP POLICY IF EXISTS own_is_written ON conduit.article;
CREATE POLICY own_is_written ON conduit.article FOR INSERT WITH CHECK (author_id = conduit.me());
DROP POLICY IF EXISTS own_is_changed ON conduit.article;
CREATE POLICY own_is_changed ON conduit.article FOR UPDATE USING (author_id = conduit.me());
DROP POLICY IF EXISTS own_is_deleted ON conduit.article;
CREATE POLICY own_is_deleted ON conduit.article FOR DELETE USING (author_id = conduit.me());

-- Tags go with their article.
GRANT INSERT, DELETE ON conduit.article_tag TO forge_user;
DROP POLICY IF EXISTS author_writes ON conduit.article_tag;
CREATE POLICY author_writes ON conduit.article_tag FOR INSERT
    WITH CHECK (EXISTS (SELECT FROM conduit.article a WHERE a.id = article_id AND a.author_id = conduit.me()));
DROP POLICY IF EXISTS author_deletes ON conduit.article_tag;
CREATE POLICY author_deletes ON conduit.article_tag FOR DELETE
    USING (EXISTS (SELECT FROM conduit.article a WHERE a.id = article_id AND a.author_id = conduit.me()));

GRANT INSERT, DELETE ON conduit.favorite TO forge_user;
DROP POLICY IF EXISTS own_is_written ON conduit.favorite;
CREATE POLICY own_is_written ON conduit.favorite FOR INSERT WITH CHECK (profile_id = conduit.me());
DROP POLICY IF EXISTS own_is_deleted ON conduit.favorite;
CREATE POLICY own_is_deleted ON conduit.favorite FOR DELETE USING (profile_id = conduit.me());

GRANT INSERT (article_id, author_id, body), DELETE ON conduit.comment TO forge_user;
DROP POLICY IF EXISTS own_is_written ON conduit.comment;
CREATE POLICY own_is_written ON conduit.comment FOR INSERT WITH CHECK (author_id = conduit.me());
DROP POLICY IF EXISTS own_is_deleted ON conduit.comment;
CREATE POLICY own_is_deleted ON conduit.comment FOR DELETE USING (author_id = conduit.me());

RESET ROLE;
