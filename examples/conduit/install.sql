-- Everything of Conduit, for psql: as a superuser, in a database that has the extension forge. Running it again
-- changes nothing, and takes up changes of functions and policies.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
\ir sql/schema.sql
\ir sql/policy.sql
\ir sql/answer.sql
\ir sql/profile.sql
\ir sql/user.sql
\ir sql/tag.sql
\ir sql/article.sql
\ir sql/favorite.sql
\ir sql/comment.sql
\o /dev/null
\ir sql/register.sql
\o
COMMIT;
