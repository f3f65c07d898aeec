-- Profiles: what everybody sees of a user, and following them. Running this file twice changes nothing.

SET ROLE conduit;

CREATE OR REPLACE FUNCTION conduit.profile_json(p conduit.profile) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'username', p.username,
    'bio', p.bio,
    'image', p.image,
    'following', EXISTS (SELECT FROM conduit.follow f WHERE f.follower_id = conduit.me() AND f.followed_id = p.id));

-- The profile of this name, or 404.
CREATE OR REPLACE FUNCTION conduit.require_profile(username text) RETURNS conduit.profile LANGUAGE plpgsql STABLE AS $$
DECLARE
    found_profile conduit.profile;
BEGIN
    SELECT * INTO found_profile FROM conduit.profile p WHERE lower(p.username) = lower(require_profile.username);
    IF NOT FOUND THEN
        RAISE SQLSTATE 'PT404' USING MESSAGE = format('there is no user "%s"', username);
    END IF;
    RETURN found_profile;
END
$$;

-- GET /api/profiles/{username}
CREATE OR REPLACE FUNCTION conduit.get_profile(username text) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('profile', conduit.profile_json(conduit.require_profile(username)));

-- POST /api/profiles/{username}/follow; clients send the user along, which nobody needs.
CREATE OR REPLACE FUNCTION conduit.follow_profile(username text, "user" jsonb DEFAULT NULL) RETURNS forge.http_response
LANGUAGE plpgsql AS $$
DECLARE
    followed CONSTANT conduit.profile := conduit.require_profile(username);
BEGIN
    IF followed.id = conduit.me() THEN
        RETURN conduit.invalid(ARRAY['username must be somebody else''s']);
    END IF;
    INSERT INTO conduit.follow (followed_id) VALUES (followed.id) ON CONFLICT DO NOTHING;
    RETURN forge.http_response(200, body => conduit.get_profile(username));
END
$$;

-- DELETE /api/profiles/{username}/follow
CREATE OR REPLACE FUNCTION conduit.unfollow_profile(username text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    followed CONSTANT conduit.profile := conduit.require_profile(username);
BEGIN
    DELETE FROM conduit.follow f WHERE f.follower_id = conduit.me() AND f.followed_id = followed.id;
    RETURN conduit.get_profile(username);
END
$$;

GRANT EXECUTE ON FUNCTION conduit.profile_json(conduit.profile), conduit.require_profile(text), conduit.get_profile(text)
    TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.follow_profile(text, jsonb), conduit.unfollow_profile(text) TO forge_user;

RESET ROLE;
