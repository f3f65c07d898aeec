-- Users: registering, logging in, and one's own account. Running this file twice changes nothing.
--
-- A token is a Forge session whose subject is `conduit:` and the profile's id. Passwords are hashed with bcrypt.

GRANT EXECUTE ON FUNCTION forge.create_session(text, text, jsonb, interval), forge.revoke_sessions(text) TO conduit;
SET ROLE conduit;

CREATE OR REPLACE FUNCTION conduit.hash_password(password text) RETURNS text LANGUAGE sql VOLATILE
RETURN public.crypt(password, public.gen_salt('bf', 10));

-- The caller sees the account of `id` only if it is the caller's own, or inside a function that runs as `conduit`.
CREATE OR REPLACE FUNCTION conduit.user_json(id bigint, token text) RETURNS jsonb LANGUAGE sql STABLE
RETURN (
    SELECT jsonb_build_object('user', jsonb_build_object(
        'email', a.email, 'token', token, 'username', p.username, 'bio', p.bio, 'image', p.image))
    FROM conduit.profile p JOIN conduit.account a ON a.profile_id = p.id
    WHERE p.id = user_json.id);

-- Names and addresses that belong to somebody other than `self`. Registration tells as much to everybody.
CREATE OR REPLACE FUNCTION conduit.taken_errors(given jsonb, self bigint DEFAULT NULL) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(
        SELECT 'email has already been taken' FROM conduit.account a
        WHERE lower(a.email) = lower(btrim(given ->> 'email')) AND a.profile_id IS DISTINCT FROM self
        UNION ALL
        SELECT 'username has already been taken' FROM conduit.profile p
        WHERE lower(p.username) = lower(btrim(given ->> 'username')) AND p.id IS DISTINCT FROM self)
$$;

CREATE OR REPLACE FUNCTION conduit.user_errors(given jsonb, self bigint DEFAULT NULL) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    partial CONSTANT boolean := self IS NOT NULL;
    errors text[] := conduit.text_errors(given, '{"email": 254, "username": 60, "password": 72}', partial);
BEGIN
    IF errors = '{}' AND btrim(given ->> 'email') !~ '^[^@\s]+@[^@\s]+$' THEN
        errors := errors || 'email is invalid'::text;
    END IF;
    -- bcrypt would leave out what comes after.
    IF errors = '{}' AND octet_length(given ->> 'password') > 72 THEN
        errors := errors || 'password is too long (maximum is 72 bytes)'::text;
    END IF;
    IF jsonb_typeof(given -> 'bio') NOT IN ('string', 'null') OR length(given ->> 'bio') > 10000 THEN
        errors := errors || 'bio must be a string of at most 10000 characters'::text;
    END IF;
    IF jsonb_typeof(given -> 'image') NOT IN ('string', 'null') OR length(given ->> 'image') > 2000 THEN
        errors := errors || 'image must be a string of at most 2000 characters'::text;
    END IF;
    IF partial AND NOT coalesce(given ?| '{email,username,password,bio,image}', false) THEN
        errors := errors || 'user can''t be blank'::text;
    END IF;
    RETURN CASE WHEN errors = '{}' THEN conduit.taken_errors(given, self) ELSE errors END;
END
$$;

-- POST /api/users
CREATE OR REPLACE FUNCTION conduit.register_user(request jsonb) RETURNS forge.http_response
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given CONSTANT jsonb := request -> 'user';
    errors CONSTANT text[] := conduit.user_errors(given);
    new_id bigint;
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    INSERT INTO conduit.profile (username) VALUES (btrim(given ->> 'username')) RETURNING id INTO new_id;
    INSERT INTO conduit.account (profile_id, email, password)
        VALUES (new_id, btrim(given ->> 'email'), conduit.hash_password(given ->> 'password'));
    RETURN forge.http_response(201, body => conduit.user_json(new_id, forge.create_session('conduit:' || new_id)));
END
$$;

-- POST /api/users/login
CREATE OR REPLACE FUNCTION conduit.login_user(request jsonb) RETURNS forge.http_response
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given CONSTANT jsonb := request -> 'user';
    errors CONSTANT text[] := conduit.text_errors(given, '{"email": 254, "password": 72}');
    known record;
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    SELECT a.profile_id, a.password INTO known FROM conduit.account a
        WHERE lower(a.email) = lower(btrim(given ->> 'email'));
    -- An unknown address takes as long as a wrong password, so that time does not tell who has an account.
    IF public.crypt(given ->> 'password', coalesce(known.password, public.gen_salt('bf', 10)))
        IS DISTINCT FROM known.password
    THEN
        RETURN forge.http_response(401, body => '{"errors": {"body": ["email or password is invalid"]}}');
    END IF;
    RETURN forge.http_response(200,
        body => conduit.user_json(known.profile_id, forge.create_session('conduit:' || known.profile_id)));
END
$$;

-- GET /api/user
CREATE OR REPLACE FUNCTION conduit.get_user() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    answer CONSTANT jsonb := conduit.user_json(conduit.me(), forge.auth_token());
BEGIN
    IF answer IS NULL THEN
        RAISE SQLSTATE 'PT401' USING MESSAGE = 'the credential is not one of a Conduit user';
    END IF;
    RETURN answer;
END
$$;

-- Ends all of the caller's sessions and begins a new one: who knew the old password is out.
CREATE OR REPLACE FUNCTION conduit.renew_session() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM forge.revoke_sessions('conduit:' || conduit.me());
    RETURN forge.create_session('conduit:' || conduit.me());
END
$$;

-- PUT /api/user; fields that are not given stay.
CREATE OR REPLACE FUNCTION conduit.update_user(request jsonb) RETURNS forge.http_response LANGUAGE plpgsql AS $$
DECLARE
    given CONSTANT jsonb := request -> 'user';
    before CONSTANT jsonb := conduit.get_user(); -- 401 when the caller is nobody
    errors CONSTANT text[] := conduit.user_errors(given, conduit.me());
    token text := before #>> '{user,token}';
BEGIN
    IF errors <> '{}' THEN
        RETURN conduit.invalid(errors);
    END IF;
    UPDATE conduit.profile p SET
        username = coalesce(btrim(given ->> 'username'), p.username),
        bio = CASE WHEN given ? 'bio' THEN given ->> 'bio' ELSE p.bio END,
        image = CASE WHEN given ? 'image' THEN given ->> 'image' ELSE p.image END
    WHERE p.id = conduit.me();
    UPDATE conduit.account a SET email = coalesce(btrim(given ->> 'email'), a.email)
        WHERE a.profile_id = conduit.me();
    IF given ? 'password' THEN
        UPDATE conduit.account a SET password = conduit.hash_password(given ->> 'password')
            WHERE a.profile_id = conduit.me();
        token := conduit.renew_session();
    END IF;
    RETURN forge.http_response(200, body => conduit.user_json(conduit.me(), token));
END
$$;

GRANT EXECUTE ON FUNCTION conduit.register_user(jsonb), conduit.login_user(jsonb) TO forge_anon, forge_user;
GRANT EXECUTE ON FUNCTION conduit.get_user(), conduit.update_user(jsonb), conduit.hash_password(text),
    conduit.user_json(bigint, text), conduit.taken_errors(jsonb, bigint), conduit.user_errors(jsonb, bigint),
    conduit.renew_session() TO forge_user;

RESET ROLE;
