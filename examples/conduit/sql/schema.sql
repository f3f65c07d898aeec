-- Conduit's tables, in schema `conduit`. Running this file twice changes nothing.
--
-- Everything belongs to the role `conduit`, which cannot log in: what its SECURITY DEFINER functions may do ends at
-- this schema, and sessions. Callers have the roles forge_anon and forge_user, and what policy.sql leaves them.

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public; -- bcrypt

DO $$
BEGIN
    IF to_regrole('conduit') IS NULL THEN
        CREATE ROLE conduit NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it at the same moment
END
$$;

CREATE SCHEMA IF NOT EXISTS conduit AUTHORIZATION conduit;
GRANT forge_user TO conduit; -- whoever gives sessions of a role must be able to have it
SET ROLE conduit;
-- A function is nobody's until it is granted.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Whose call this is: null for anonymous callers and for subjects that are not Conduit's.
CREATE OR REPLACE FUNCTION conduit.me() RETURNS bigint LANGUAGE sql STABLE
RETURN substring(forge.auth_subject() FROM '^conduit:([0-9]{1,18})$')::bigint;

-- What everybody may know of a user.
CREATE TABLE IF NOT EXISTS conduit.profile (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username    text NOT NULL CHECK (username <> ''),
    bio         text,
    image       text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS profile_username_key ON conduit.profile (lower(username));

-- What only the user may know, and a hash that nobody may read.
CREATE TABLE IF NOT EXISTS conduit.account (
    profile_id  bigint PRIMARY KEY REFERENCES conduit.profile ON DELETE CASCADE,
    email       text NOT NULL CHECK (email <> ''),
    password    text NOT NULL CHECK (password LIKE '$2_$%') -- bcrypt
);
CREATE UNIQUE INDEX IF NOT EXISTS account_email_key ON conduit.account (lower(email));

CREATE TABLE IF NOT EXISTS conduit.follow (
    follower_id  bigint NOT NULL DEFAULT conduit.me() REFERENCES conduit.profile ON DELETE CASCADE,
    followed_id  bigint NOT NULL REFERENCES conduit.profile ON DELETE CASCADE,
    PRIMARY KEY (follower_id, followed_id)
);
CREATE INDEX IF NOT EXISTS follow_followed_idx ON conduit.follow (followed_id);

CREATE TABLE IF NOT EXISTS conduit.article (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug         text NOT NULL UNIQUE,
    author_id    bigint NOT NULL DEFAULT conduit.me() REFERENCES conduit.profile ON DELETE CASCADE,
    title        text NOT NULL CHECK (title <> ''),
    description  text NOT NULL,
    body         text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS article_newest_idx ON conduit.article (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS article_author_idx ON conduit.article (author_id, created_at DESC, id DESC);

CREATE TABLE IF NOT EXISTS conduit.article_tag (
    article_id  bigint NOT NULL REFERENCES conduit.article ON DELETE CASCADE,
    tag         text NOT NULL CHECK (tag <> ''),
    PRIMARY KEY (article_id, tag)
);
CREATE INDEX IF NOT EXISTS article_tag_tag_idx ON conduit.article_tag (tag, article_id);

CREATE TABLE IF NOT EXISTS conduit.favorite (
    profile_id  bigint NOT NULL DEFAULT conduit.me() REFERENCES conduit.profile ON DELETE CASCADE,
    article_id  bigint NOT NULL REFERENCES conduit.article ON DELETE CASCADE,
    PRIMARY KEY (article_id, profile_id)
);
CREATE INDEX IF NOT EXISTS favorite_profile_idx ON conduit.favorite (profile_id, article_id);

CREATE TABLE IF NOT EXISTS conduit.comment (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    article_id  bigint NOT NULL REFERENCES conduit.article ON DELETE CASCADE,
    author_id   bigint NOT NULL DEFAULT conduit.me() REFERENCES conduit.profile ON DELETE CASCADE,
    body        text NOT NULL CHECK (body <> ''),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS comment_article_idx ON conduit.comment (article_id, id);

RESET ROLE;
